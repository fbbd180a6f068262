"""What happens by itself: deliveries are taken in, what is out of date is remade, drift and failures are told.

All of it is level-triggered: a tick compares the world with the receipts and asks for what is missing, so a sensor that was
off, or lost its cursor, forgets nothing. All sensors and schedules are off until somebody switches them on.
"""
