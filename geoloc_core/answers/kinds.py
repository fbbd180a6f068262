"""The kinds of point that an answer may give; imports nothing, as profiles are read by processes that answer nothing."""

# The anchor of the likeliest region, by kind (`geography.anchors`); the best of all points for the whole posterior
# (`decide`); or where the training photo of that region was taken that looks most like the photo.
NEAREST_ANSWER = "nearest_photo"
ANSWERS = (
    "centroid", "mean", "medoid", "geoscore", "within200", "within750", "expected_distance", "expected_geoscore",
    NEAREST_ANSWER,
)  # fmt: skip
# The thesis answers with the polygon's centroid; whatever else is compared, its row stays the thesis's.
THESIS_ANSWER = "centroid"
# On IM2GPS, with a simulated classifier that names 39 % of the countries, a mean GeoScore of 1890 against 1545 for the best
# anchor and 1416 for the centroid (docs/reproduction.md, fault 6).
DEFAULT_ANSWER = "expected_geoscore"
# The anchor that comes nearest to a rule, where one point stands for a region; with `nearest_photo`, where none of the
# region's photos is near enough to be believed.
ANCHOR_OF_RULE = {"expected_geoscore": "geoscore", "expected_distance": "medoid", NEAREST_ANSWER: "geoscore"}
