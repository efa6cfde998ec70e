"""Errors of the command line and the launcher: what a person is told in a line or two.

The client's have the same root and stand in `secondlook.client.errors`.

SecondlookError
├── ConfigRefused          a deployment file that can't be used
├── StartFailed            the service could not be started
│   ├── PortInUse          somebody already listens there
│   └── StopRequested      a signal asked to stop before the service was ready
├── ServiceLost            a running service lost a process that it can't do without
│   └── StoppedAtOnce      a second signal cut the orderly stop short
├── ChangeFailed           a running service could not go over to another configuration
├── KeysRefused            a file of API keys that can't be used, or has no such key
├── NoService              no launcher of this user's serves the address
├── CalibrationFailed      a policy's targets could not be calibrated
├── WarmupFailed           a catalogue could not be embedded, or not all of it
├── QueryFailed            a question to a service got no usable answer
├── BenchFailed            no engine could be measured
└── DemoFailed             the demonstration did not show what it is there to show
"""


class SecondlookError(Exception):
    """Root of all errors of this package; one that ends a command is its exit code 1 and a message."""


class ConfigRefused(SecondlookError):
    """Raised when a deployment file can't be read or is not valid; the message names the keys."""


class StartFailed(SecondlookError):
    """Raised when the service could not be started; the message says why."""


class PortInUse(StartFailed):
    """Raised when the address asked for is taken or can't be listened on."""


class StopRequested(StartFailed):
    """Raised out of whatever start-up is doing when a signal asks to stop."""


class ServiceLost(SecondlookError):
    """Raised when a process of Ray's that the service can't do without has ended."""


class StoppedAtOnce(ServiceLost):
    """Raised when a second signal cut the orderly stop short; requests in flight were dropped."""


class ChangeFailed(SecondlookError):
    """Raised when a running service could not, or not everywhere, go over to another configuration."""


class KeysRefused(SecondlookError):
    """Raised when a file of API keys can't be read or written, or an id is taken or unknown."""


class NoService(SecondlookError):
    """Raised when no launcher of this user's serves the address that a command means."""


class CalibrationFailed(SecondlookError):
    """Raised when there is nothing to calibrate, or nothing to calibrate with; the message says which."""


class WarmupFailed(SecondlookError):
    """Raised when a catalogue can't be read, embedded or kept; what was embedded before is kept."""


class QueryFailed(SecondlookError):
    """Raised when a service can't be reached or answers with an error."""


class BenchFailed(SecondlookError):
    """Raised when no engine can run the model that was to be measured; the message has each one's reason."""


class DemoFailed(SecondlookError):
    """Raised when the demonstration saw no second look, no cache hit, or an error."""
