"""One login, session, retry budget and circuit per vendor; backends, wrappers and live clients receive it."""
