"""The host agent: answers the processes of one machine on a unix socket. What: `service/host.py`."""
