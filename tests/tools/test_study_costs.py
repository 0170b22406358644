"""The cost model: the mail's ratios, and intervals that are the true extremes over the box of prices.

The counts here are made up; they test arithmetic, not pmaps.
"""

from __future__ import annotations

import random

import pytest

from xenmmu.study import costs

NAMES = (
    "mmu_update",
    "mmu_update_entries",
    "update_va_mapping",
    "mmuext_op",
    "MMUEXT_INVLPG_LOCAL",
    "MMUEXT_TLB_FLUSH_LOCAL",
    "entries_validated",
    "iret",
    "processes",
)


def counts(**given: int) -> dict[str, int]:
    assert set(given) <= set(NAMES)
    return {name: given.get(name, 0) for name in NAMES}


KEPT = counts(
    mmu_update=1000,
    mmu_update_entries=1500,
    mmuext_op=500,
    MMUEXT_INVLPG_LOCAL=300,
    MMUEXT_TLB_FLUSH_LOCAL=100,
    entries_validated=40_000,
    iret=2000,
    processes=10,
)
STOCK = counts(
    mmu_update=9000,
    mmu_update_entries=9500,
    update_va_mapping=2000,
    mmuext_op=8000,
    MMUEXT_INVLPG_LOCAL=300,
    MMUEXT_TLB_FLUSH_LOCAL=6000,
    entries_validated=2_000_000,
    iret=2000,
    processes=10,
)


def drawn(chance: random.Random) -> list[float]:
    return [chance.uniform(price.low, price.high) for price in costs.PRICES]


def cost(its: dict[str, int], prices: list[float]) -> float:
    return sum(n * p for n, p in zip(costs.amounts(its), prices, strict=True))


def test_the_mails_ratios() -> None:
    # The research's derived figures: real 6.0x, sys 10.7x, patched over native 2.19x, stock over native 13.1x.
    stock, kept, native = (costs.measured(k, costs.REAL) for k in ("stock", "kept", "native"))
    assert (round(stock, 2), round(kept, 2), round(native, 2)) == (72.95, 12.19, 5.56)
    assert round(stock / kept, 1) == 6.0 and round(kept / native, 2) == 2.19 and round(stock / native, 1) == 13.1
    assert round(costs.measured("stock", costs.SYS) / costs.measured("kept", costs.SYS), 1) == 10.7
    low, high = costs.measured_overhead_ratio(costs.REAL)
    assert round(low, 2) == 10.16 and round(high, 2) == 10.61


def test_every_price_has_a_range_and_a_source() -> None:
    for price in costs.PRICES:
        assert 0 <= price.low < price.high and price.source


def test_no_work_is_counted_twice() -> None:
    # One of everything that a hypercall can be: each count moves the amounts of exactly one or two prices.
    one = counts(mmu_update=1, mmu_update_entries=1)
    assert sum(costs.amounts(one)) == 1
    assert sum(costs.amounts(counts(mmu_update=1, mmu_update_entries=255))) == 255
    assert sum(costs.amounts(counts(mmuext_op=1, MMUEXT_INVLPG_LOCAL=1))) == 1
    assert sum(costs.amounts(counts(mmuext_op=1, MMUEXT_TLB_FLUSH_LOCAL=1))) == 1
    assert sum(costs.amounts(counts(mmuext_op=1))) == 1


def test_overhead_is_counts_times_prices() -> None:
    found = costs.overhead(counts(mmu_update=1_000_000, mmu_update_entries=3_000_000))
    assert found.low == pytest.approx(0.5 + 2 * 0.1) and found.high == pytest.approx(0.9 + 2 * 0.2)
    assert found.low < found.mid < found.high


def test_extremes_hold_every_sampled_ratio_and_are_reached() -> None:
    found = costs.extremes(STOCK, KEPT)
    chance = random.Random(5)
    ratios = []
    for _ in range(5000):
        prices = drawn(chance)
        ratios.append(cost(STOCK, prices) / cost(KEPT, prices))
    assert found.low <= min(ratios) and max(ratios) <= found.high
    corners = [
        [p.high if bits >> i & 1 else p.low for i, p in enumerate(costs.PRICES)]
        for bits in range(1 << len(costs.PRICES))
    ]
    ratios = [cost(STOCK, c) / cost(KEPT, c) for c in corners]
    assert found.low == pytest.approx(min(ratios)) and found.high == pytest.approx(max(ratios))
    assert found.low < found.mid < found.high


def test_a_design_against_itself() -> None:
    found = costs.extremes(KEPT, KEPT)
    assert (found.low, found.mid, found.high) == pytest.approx((1, 1, 1))


def test_reading_scales_bound_every_sample_that_fits() -> None:
    reading = costs.judge("stock", STOCK, KEPT)
    assert reading.scale is not None
    low, high = costs.measured_overhead_ratio(costs.REAL)
    seconds = costs.measured("kept", costs.REAL) - costs.measured("native", costs.REAL)
    chance = random.Random(6)
    fitting = 0
    for _ in range(40_000):
        prices = drawn(chance)
        if low <= cost(STOCK, prices) / cost(KEPT, prices) <= high:
            fitting += 1
            assert reading.scale[0] * 0.999 <= seconds * 1e6 / cost(KEPT, prices) <= reading.scale[1] * 1.001
    assert fitting > 50


def test_reading_that_no_price_allows() -> None:
    slightly = counts(**{**KEPT, "mmu_update": KEPT["mmu_update"] + 10, "mmu_update_entries": 1510})
    reading = costs.judge("stock-literal", slightly, KEPT)
    assert reading.scale is None and not reading.compatible
    assert 10 not in reading.ratio


def test_reading_that_needs_an_incredible_workload() -> None:
    # The shape fits, but the mail's make would have had to do thousands of times the work.
    assert not costs.judge("stock", STOCK, KEPT).compatible
    big = {name: n * 3000 for name, n in KEPT.items()}
    reading = costs.judge("stock", {name: n * 3000 for name, n in STOCK.items()}, big)
    assert reading.compatible


def test_the_least_stretch_reaches_the_measured_ratio() -> None:
    less = counts(**{**STOCK, "MMUEXT_TLB_FLUSH_LOCAL": 1500, "mmuext_op": 3500, "entries_validated": 60_000})
    reading = costs.judge("stock", less, KEPT)
    assert reading.scale is None and reading.stretch is not None
    price, value = reading.stretch
    assert value > price.high
    low, _ = costs.measured_overhead_ratio(costs.REAL)
    amounts, under = costs.amounts(less), costs.amounts(KEPT)
    gaps = [
        value * (n - low * m) if p is price else max((n - low * m) * p.low, (n - low * m) * p.high)
        for p, n, m in zip(costs.PRICES, amounts, under, strict=True)
    ]
    assert sum(gaps) == pytest.approx(0, abs=1e-6)


def test_no_stretch_helps_a_design_that_does_the_same() -> None:
    assert costs.judge("stock-literal", KEPT, KEPT).stretch is None


def test_model_fits_kept_and_leaves_native_as_the_base() -> None:
    models = {m.design: m for m in costs.model({"stock": STOCK, "kept": KEPT, "native": counts()})}
    ratio = costs.measured("kept", costs.REAL) / costs.measured("native", costs.REAL)
    kept, native, stock = models["kept"], models["native"], models["stock"]
    assert kept.fitted is not None and kept.fitted.low == pytest.approx(ratio) == pytest.approx(kept.fitted.high)
    assert native.fitted is not None and native.fitted.low == native.fitted.high == 1
    assert native.measured == 1 and kept.measured == pytest.approx(ratio)
    assert stock.fitted is not None and stock.fitted.low > ratio


def test_model_without_kept_has_no_ratio() -> None:
    (only,) = costs.model({"stock": STOCK})
    assert only.ratio is None and only.fitted is None and only.overhead.low > 0
