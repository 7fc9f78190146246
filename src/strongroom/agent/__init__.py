"""The host agent: answers the processes of one machine on a unix socket. Not for what it answers: `service/host.py`."""
