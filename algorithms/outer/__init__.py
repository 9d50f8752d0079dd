"""The outer steps: gradient descent on the query loss, a trust region, and the clipped objective of ProMP."""
