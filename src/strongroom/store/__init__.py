"""Our own tables: rows of ciphertext and of public facts. `barrier.py` alone joins them to plaintext."""
