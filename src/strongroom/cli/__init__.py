"""
The command line: one file per noun, `main.py` for what ends a command, `terminal.py` for all talk to
the user, `output.py` for tables, JSON and YAML, `app.py` for how commands are declared and helped.
"""
