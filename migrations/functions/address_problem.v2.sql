-- What an address should look like, where it can not be one of its channel; NULL where it can.
CREATE OR REPLACE FUNCTION notifier.address_problem(channel text, address text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN address IS NULL OR address = '' OR octet_length(address) > 2048 OR address ~ '[[:cntrl:]]'
        THEN 'an address of 1 to 2048 bytes without control characters'
    WHEN channel = 'email' AND (octet_length(address) > 254 OR address !~
        '^[^[:space:]@<>(),;:\\"\[\]]{1,64}@([[:alnum:]]([[:alnum:]-]{0,61}[[:alnum:]])?\.)+[[:alnum:]]([[:alnum:]-]{0,61}[[:alnum:]])?$'
        OR address ~ '(^\.|\.\.|\.@)')
        THEN 'an e-mail address (name@example.com)'
    WHEN channel IN ('sms', 'voice') AND address !~ '^\+[1-9]\d{6,14}$'
        THEN 'a phone number in E.164 form (+14155550123)'
    WHEN channel = 'webhook' AND address !~* '^https?://[^/?#@[:space:]]+([/?#][^[:space:]]*)?$'
        THEN 'an http or https URL without credentials'
    -- That the key is a point on its curve, the worker finds out.
    WHEN channel = 'push' AND NOT (
        address ~ '^(fcm:[\x21-\x7e]+|apns:([0-9A-Fa-f]{2}){32,100})$'
        OR address IS JSON OBJECT
            AND address ~ '"endpoint"[[:space:]]*:[[:space:]]*"https:'
            AND address ~ '"p256dh"[[:space:]]*:[[:space:]]*"[A-Za-z0-9_-]{87}=?"'
            AND address ~ '"auth"[[:space:]]*:[[:space:]]*"[A-Za-z0-9_-]{22}(==)?"')
        THEN 'fcm:<registration token>, apns:<device token in hexadecimal>, or a Web Push subscription as JSON (endpoint, keys.p256dh, keys.auth)'
END;
