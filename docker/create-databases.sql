-- Run once by the image of PostgreSQL, on an empty volume; the database `dagster` is made by its own setting.
CREATE DATABASE mlflow;
