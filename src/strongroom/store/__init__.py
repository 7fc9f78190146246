"""Our own tables. They see ciphertext only; `barrier.py` joins it to plaintext."""
