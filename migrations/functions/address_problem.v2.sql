-- What an address should look like, where it can not be one of its channel; NULL where it can.
-- Of an Apprise URL only the form is looked at, and that it does not name a service of this machine:
-- which services there are, the worker knows.
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
    WHEN channel = 'slack' AND address !~
        '^([CDGUW][A-Z0-9]{2,20}|#[^[:space:]#@<>&,]{1,80}|https://hooks\.slack\.com/services/[^[:space:]?#]+)$'
        THEN 'a Slack id (C0123456789), a channel (#general) or the URL of an incoming webhook (https://hooks.slack.com/services/T/B/x)'
    WHEN channel = 'teams' AND address !~ '^https://[^/?#@[:space:]]+([/?#][^[:space:]]*)?$'
        THEN 'the https URL of a Teams workflow''s webhook'
    WHEN channel = 'apprise' AND (address !~ '^[A-Za-z0-9]{1,32}://[^[:space:]]+$'
        OR address ~* '^(dbus|file|gio|glib|gnome|https?|kde|macosx|qt|syslog|windows)://')
        THEN 'an Apprise URL of a service reached over the network (tgram://token/chat)'
END;
