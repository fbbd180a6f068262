"""A stand-in for a data set: drawn landscapes with the shape of MP-16's deliveries and none of its photographs."""
