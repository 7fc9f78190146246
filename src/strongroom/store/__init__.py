"""Our own tables: rows of ciphertext and of public facts. `barrier/` alone joins them to plaintext."""
