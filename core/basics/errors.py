"""
SweetspotError                  everything we raise on purpose: one sentence, and what to do next
├── InputError                  a value outside what it may be, with the range
├── ModelError                  the model cannot be planned
│   ├── ModelNotFound           no such model on the Hub, in the catalogue or on disk
│   ├── ModelGated              needs a token or an accepted licence
│   ├── ConfigInvalid           config.json is malformed, absurd or hostile
│   ├── ArchitectureUnknown     names the key or family that is not understood
│   └── CheckpointInvalid       a safetensors or GGUF header is malformed, absurd or hostile
├── HubError                    the Hub did not answer; the bundled catalogue still works
│   ├── HubUnreachable          no network, refused, timed out, server error
│   └── HubRateLimited          too many requests; says when to come back
├── HardwareError               no figures for this GPU, driver missing
├── ProbeError                  a measurement could not be made or finished
├── ClusterError                no Ray, or its cluster cannot be reached, refuses or went away
├── QualityError                a quality check could not be made or finished
└── StoreError                  something saved could not be written or read
"""


class SweetspotError(Exception):
    """Base of all errors raised on purpose; `str(error)` is fit to show to a person."""


class InputError(SweetspotError):
    """A value outside what it may be; the message names the value and the range."""


class TableError(SweetspotError):
    """A bundled table is wrong; the message names file, line and column."""


class ModelError(SweetspotError):
    """The model cannot be planned."""


class ModelNotFound(ModelError):
    """No such model on the Hub, in the catalogue or on disk."""


class ModelGated(ModelError):
    """The repository needs a token or an accepted licence."""


class ConfigInvalid(ModelError):
    """config.json is malformed, absurd or hostile."""


class ArchitectureUnknown(ModelError):
    """The family, or one key of it, is not understood; the message names it."""


class CheckpointInvalid(ModelError):
    """A safetensors or GGUF header is malformed, absurd or hostile."""


class HubError(SweetspotError):
    """The Hub did not answer as it should."""


class HubUnreachable(HubError):
    """No network, connection refused, timed out, or a server error."""


class HubRateLimited(HubError):
    """Too many requests; the message says when to come back."""


class HardwareError(SweetspotError):
    """No figures for this GPU, or its driver is missing."""


class ProbeError(SweetspotError):
    """A measurement could not be made or finished."""


class ClusterError(SweetspotError):
    """Ray is missing, or its cluster cannot be reached, refuses or went away."""


class QualityError(SweetspotError):
    """A quality check could not be made or finished."""


class StoreError(SweetspotError):
    """Something saved could not be written or read."""
