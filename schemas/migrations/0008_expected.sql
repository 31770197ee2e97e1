-- What the reference expects in each cell at a window's time, and what the cells are called: to be drawn beside what came.

ALTER TABLE feature_windows ADD COLUMN IF NOT EXISTS expected Array(Float32) AFTER cells;

ALTER TABLE feature_windows ADD COLUMN IF NOT EXISTS cell_names Array(LowCardinality(String)) AFTER expected;
