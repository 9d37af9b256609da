-- name: traffic
-- Calls that an upstream answered; charges from outside whose cost was stated follow no price.
SELECT seconds, attempts, extras, {classes} FROM records
WHERE received_ns >= :since_ns AND received_ns < :until_ns AND model_served = :model
  AND provider IN (SELECT value FROM json_each(:providers) AS each) AND cache NOT IN ({hits}) AND price_version <> '';
