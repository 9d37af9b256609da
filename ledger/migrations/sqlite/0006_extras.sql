-- What a charge holds beside its tokens at its rates, as JSON (see farthing.record.Extra): searches by the piece, images
-- in the output, parts of an answer that another model made. Rates and extras together explain the cost; a row from
-- before does not tell its extras, and one that had some is not priced anew.
ALTER TABLE records ADD COLUMN extras TEXT NOT NULL DEFAULT '[]';

ALTER TABLE adjustments ADD COLUMN extras TEXT NOT NULL DEFAULT '[]';
