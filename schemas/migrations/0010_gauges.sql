-- What services say of their GPU, queue and memory.

ALTER TABLE producers ADD COLUMN IF NOT EXISTS gauges Map(LowCardinality(String), Float64) AFTER completeness;
