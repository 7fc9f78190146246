"""What every test stands on."""

from __future__ import annotations

import signal

# A job that a shell starts in the background, or under nohup, is born with these ignored, and so are its
# children: a test that sends Ctrl-C would wait for ever. Tests of signals start from what a terminal gives.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)
