"""How fast it is beside learn2learn, Gymnasium and what this machine can do."""
