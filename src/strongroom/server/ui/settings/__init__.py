"""How a person has his pages, who is signed in, and how the house is kept: keys, backups, the doctor."""
