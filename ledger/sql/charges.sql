-- name: find
SELECT cost, price_version, booked_ns FROM charges WHERE record_id = :record_id;
