"""The bodies for images, and the layers that they are made of."""
