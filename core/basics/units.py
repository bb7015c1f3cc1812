"""Units: bytes are bytes, GiB is 2^30, GB is 10^9, times are seconds; only the screen shows ms."""

from typing import Final

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30
GB: Final = 10**9
TERA: Final = 10**12
MS_PER_S: Final = 1000.0
US: Final = 1e-6
