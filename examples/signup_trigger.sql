-- Emit `user.signup` from a trigger, in the transaction that makes the user.
-- Run as the owner of your own table; its writers need EXECUTE on emit_notification_event
-- (GRANT notifier_producer TO your_login). Put your tenant's id in the last line.

CREATE OR REPLACE FUNCTION emit_signup() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM notifier.emit_notification_event(
        TG_ARGV[0]::uuid,
        'user.signup',
        jsonb_build_object('email', NEW.email),
        jsonb_build_object('addresses', jsonb_build_array(
            jsonb_build_object('channel', 'email', 'address', NEW.email))),
        -- A key that names the row: whatever repeats this insert welcomes nobody twice.
        -- on_invalid = record lets the insert pass and writes a system event instead of failing.
        jsonb_build_object('idempotency_key', 'signup:' || NEW.id, 'on_invalid', 'record'));
    RETURN NEW;
END $$;

CREATE TRIGGER signup AFTER INSERT ON users
    FOR EACH ROW EXECUTE FUNCTION emit_signup('00000000-0000-0000-0000-000000000000');
