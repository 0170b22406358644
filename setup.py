"""cffi_modules is a keyword of setup() that pyproject.toml cannot express; everything else stands there."""

import sys
import sysconfig

from setuptools import setup

# One abi3 wheel for every CPython from 3.11 on; a free-threaded build has no limited API before 3.15.
ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED") or sys.version_info >= (3, 15)
setup(
    cffi_modules=["setup_cffi.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
