from typing import Any

# cffi's own stubs know no field of a struct and no element type, so they would reject every use.
ffi: Any
lib: Any
