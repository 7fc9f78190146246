"""The command line. One file per noun; all talk to the user goes through `main.py`."""
