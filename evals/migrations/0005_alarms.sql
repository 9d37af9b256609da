-- When a series last raised an alarm that was told, wall ns; 0: never since its pass.
ALTER TABLE drift ADD COLUMN alarmed_ns INTEGER NOT NULL DEFAULT 0;
