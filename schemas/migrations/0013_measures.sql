-- Counts of answers by truth, and of scores by truth, that add up over parts: for F1 and the area under the ROC curve (schemas/measures.py).
-- Of a regression: labels, and the sum of what its answers were off.

ALTER TABLE accuracy_windows ADD COLUMN IF NOT EXISTS classes UInt64 AFTER expected_errors;

ALTER TABLE accuracy_windows ADD COLUMN IF NOT EXISTS answer_codes Array(UInt64) AFTER classes;

ALTER TABLE accuracy_windows ADD COLUMN IF NOT EXISTS answer_counts Array(UInt64) AFTER answer_codes;

ALTER TABLE accuracy_windows ADD COLUMN IF NOT EXISTS score_codes Array(UInt64) AFTER answer_counts;

ALTER TABLE accuracy_windows ADD COLUMN IF NOT EXISTS score_counts Array(UInt64) AFTER score_codes;

ALTER TABLE accuracy_windows ADD COLUMN IF NOT EXISTS value_n UInt64 AFTER score_counts;

ALTER TABLE accuracy_windows ADD COLUMN IF NOT EXISTS abs_error Float64 AFTER value_n;
