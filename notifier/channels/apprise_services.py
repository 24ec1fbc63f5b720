"""The services of Apprise that an address may name.

https://appriseit.com/services/

Those that are reached over the network: their plugin in Apprise 2.2 speaks HTTP through `requests`
or, for mail, SMTP through `smtplib`, which both go by Python's sockets, where `apprise_child` can
judge where they go. Left out are the services of this machine (`dbus`, `gio`, `glib`, `gnome`,
`kde`, `macosx`, `qt`, `syslog`, `windows`), those that read files their URL names (`fcm`, `vapid`),
those that speak for themselves (`amqp`, `aprs`, `irc`, `rsyslog`), and what needs a package that we
do not bring.
"""

# fmt: off
NETWORK: frozenset[str] = frozenset(
    {
        "46elks", "apprise", "apprises", "atalk", "azure", "bark", "barks", "betterstack",
        "bluesky", "brevo", "bsky", "bulksms", "bulkvs", "burstsms", "chanify", "clickatell",
        "clicksend", "cliq", "cm", "d7sms", "dapnet", "dingtalk", "discord", "dot",
        "eight00com", "elks", "emby", "embys", "enigma2", "enigma2s", "evolution", "evolutions",
        "exotel", "feishu", "firehydrant", "flock", "flowtriq", "flowtriqs", "fluxer",
        "fluxers", "form", "forms", "freemobile", "gchat", "github", "goalert", "goalerts",
        "gorush", "gorushs", "gotify", "gotifys", "groundmail", "groupme", "gupshup", "hassio",
        "hassios", "httpsms", "humhub", "humhubs", "ifttt", "ilert", "incidentio", "infobip",
        "jira", "join", "json", "jsons", "kakao", "kakaotalk", "kaleyra", "kavenegar", "klr",
        "kodi", "kodis", "kook", "kudosity", "kumulos", "lametric", "lametrics", "lark",
        "lauther", "lfg", "line", "mailersend", "mailgun", "mailto", "mailtos", "mastodon",
        "mastodons", "matrix", "matrixs", "misskey", "misskeys", "mmost", "mmosts",
        "mobilemessage", "mobilemsg", "msg91", "msgbird", "ncloud", "nclouds", "nctalk",
        "nctalks", "nexmo", "notica", "noticas", "notifiarr", "notifico", "notificos",
        "notifyre", "ntfy", "ntfys", "o365", "octopush", "onebot", "onebots", "onesignal",
        "opsgenie", "pagerduty", "pagertree", "parsep", "parseps", "pbul", "pinglet",
        "pinglets", "pingram", "pjet", "pjets", "plivo", "postmark", "pover", "prowl", "psafer",
        "psafers", "push", "pushdeer", "pushdeers", "pushed", "pushme", "pushplus", "pushward",
        "pushy", "qq", "reddit", "resend", "revolt", "ringc", "rocket", "rockets", "ryver",
        "schan", "sendgrid", "sendpulse", "serwersms", "ses", "session", "sessions", "seven",
        "sfr", "signal", "signalgrid", "signals", "signl4", "simplepush", "sinch", "slack",
        "smsc", "smseagle", "smseagles", "smsmanager", "smsmgr", "smstunnel", "smtp2go", "sns",
        "sogs", "sparkpost", "spike", "splunk", "spugpush", "spush", "squadcast", "stackfield",
        "strmlabs", "synology", "synologys", "telesign", "telnyx", "tgram", "threema", "toot",
        "toots", "trigv", "trigvs", "tweet", "twilio", "twist", "twitter", "viber", "victorops",
        "voipms", "vonage", "webex", "wechat", "wecom", "wecombot", "whapi", "whatsapp",
        "workflow", "workflows", "wpush", "wxpusher", "wxteams", "x", "xbmc", "xbmcs",
        "xmatters", "xml", "xmls", "youlmk", "zalo", "zcliq", "zohocliq", "zoom", "zulip",
    }
)
# fmt: on
