"""The services of Apprise that an address may name.

https://appriseit.com/services/

Those that are reached over the network, by the plugin of Apprise 2.2 that carries the name. Left
out, because what they do is done on this machine: `dbus`, `gio`, `glib`, `gnome`, `kde`, `macosx`,
`qt`, `syslog` and `windows`; because they read files that the URL names: `fcm` and `vapid`; and
what is spoken past Python's sockets or needs a package that we do not bring.
"""

NETWORK: frozenset[str] = frozenset(
    """
    json jsons xml xmls form forms mailto mailtos
    """.split()
)
