"""The sample: a data set that the project draws itself, with the shape of MP-16 and none of its photographs."""
