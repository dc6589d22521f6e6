"""What must have arrived of each SDK's story: users, events, merges, profiles and accounts.

A story is a dictionary of users by the id that they are called by, each with all its ids, its profile and its events,
oldest first, as (name, account, properties); and of accounts by id, with their profiles. Profiles and properties may have more
than is told here, because SDKs tell of themselves; events may not be more, nor fewer, nor in another order.
"""

FREE = {"plan": "free", "seats": 3}
ACME = {"name": "Acme", "employees": 12}


def segment(me, node=False):
    return {
        "users": {
            f"{me}-ada": {
                "ids": [f"{me}-ada", f"{me}-anon", f"{me}-old"],
                "profile": {"email": "ada@example.com", "age": 36, "account": f"{me}-acme"},
                "events": [
                    ("Signed Up", f"{me}-acme", {**FREE, "utm.source": "ads"}),
                    ("Visited", None, {"path": "/"}),
                    ("Came Back", None, {}),
                    ("page", None, {"path": "/docs", "category": "Docs", "name": "Install"}),
                    ("screen", None, {"width": 390, "category": "App", "name": "Home"}),
                ],
            },
        },
        "accounts": {f"{me}-acme": ACME},
    }


def posthog(me, called=None):
    ada = called or f"{me}-ada"
    return {
        "users": {
            ada: {
                "ids": [f"{me}-ada", f"{me}-anon", f"{me}-old"],
                "profile": {"email": "ada@example.com", "first_plan": "free", "age": 36, "role": "engineer",
                            "source": "ads"},
                "events": [
                    ("signed_up", f"{me}-acme", {**FREE, "$groups.company": f"{me}-acme"}),
                    ("visited", None, {"path": "/"}),
                    ("came_back", None, {}),
                ],
            },
        },
        "accounts": {f"{me}-acme": ACME},
    }


def mixpanel_profile():
    return {"$email": "ada@example.com", "age": 36, "source": "ads", "logins": 5, "tags": ["b", "c"], "gone": None}


def segment_in_browser(me):
    return {
        "users": {
            f"{me}-ada": {
                "ids": [f"{me}-ada", "$anonymous", f"{me}-old"],
                "profile": {"email": "ada@example.com", "age": 36, "account": f"{me}-acme"},
                "events": [
                    ("Visited", None, {"path": "/"}),
                    ("Signed Up", f"{me}-acme" if me == "segmentjs" else None, FREE),
                    ("page", None, {"path": "/docs", "category": "Docs", "name": "Install"}),
                ],
            },
        },
        "accounts": {f"{me}-acme": ACME},
    }


def amplitude(me, device=None, platform="web"):
    return {
        "users": {
            f"{me}-ada": {
                "ids": [f"{me}-ada", device or f"{me}-device"],
                "profile": {"email": "ada@example.com", "age": 36, "source": "ads", "logins": 2, "tags": ["b"]},
                "events": [
                    ("Visited", None, {"path": "/"}),
                    ("Signed Up", f"{me}-acme", {**FREE, "groups.company": f"{me}-acme", "platform": platform}),
                    ("revenue_amount", None, {"$price": 9.99, "$quantity": 2, "$productId": "pro"}),
                ],
            },
        },
        "accounts": {f"{me}-acme": ACME},
    }


def snowplow(me):
    return {
        "users": {
            f"{me}-ada": {
                "ids": [f"{me}-ada", f"{me}-browser"],
                "events": [
                    ("page_view", None, {"url": "https://example.com/", "page_title": "Home"}),
                    ("page_view", None, {"url": "https://example.com/docs", "page_title": "Docs",
                                         "referrer": "https://example.com/", "page.type": "docs"}),
                    ("add-to-basket", None, {"category": "shop", "label": "pcs", "property": "web", "value": 2}),
                    ("signed_up", None, FREE),
                ],
            },
        },
    }


def cloudevents(me):
    return {
        "users": {
            f"{me}-ada": {
                "ids": [f"{me}-ada"],
                "events": [("signed_up", None, {"plan": "free", "seats": seats, "region": "eu", "source": "/shop"})
                           for seats in (1, 2, 3, 4)],
            },
        },
    }


STORIES = {
    "segment": segment("segment"),
    "rudder": segment("rudder"),
    "segment_js": segment_in_browser("segmentjs"),
    "rudder_js": segment_in_browser("rudderjs"),
    "segment_node": segment("segmentnode"),
    "rudder_node": segment("ruddernode"),
    # Python's alias(previous_id, distinct_id) names the previous id as the one that stays; so does the vendor.
    "posthog": posthog("posthog", called="posthog-old"),
    "posthog_v1": posthog("posthogv1", called="posthogv1-old"),
    "posthog_node": posthog("posthognode"),
    "posthog_js": {
        "users": {
            "posthogjs-ada": {
                "ids": ["posthogjs-ada", "$anonymous"],
                "profile": {"email": "ada@example.com", "source": "ads"},
                "events": [("visited", None, {"path": "/", "$lib": "web"}),
                           ("signed_up", "posthogjs-acme", {**FREE, "$lib": "web"}),
                           ("left", "posthogjs-acme", {"where": "beacon"})],
            },
        },
        "accounts": {"posthogjs-acme": ACME},
    },
    "mixpanel": {
        "users": {
            "mixpanel-ada": {
                "ids": ["mixpanel-ada", "mixpanel-anon", "mixpanel-second"],
                "profile": mixpanel_profile(),
                "events": [("Imported", None, {"old": True}),
                           ("Signed Up", "mixpanel-acme", {**FREE, "company": "mixpanel-acme"}),
                           ("Visited", None, {"path": "/"}),
                           ("Second Device", None, {})],
            },
            "mixpanel-bo": {
                "ids": ["mixpanel-bo"],
                "events": [("Clicked", None, {"number": number}) for number in range(60)],
            },
        },
        "accounts": {"mixpanel-acme": ACME},
    },
    "mixpanel_node": {
        "users": {
            "mixpanelnode-ada": {
                "ids": ["mixpanelnode-ada", "mixpanelnode-anon"],
                "profile": mixpanel_profile(),
                "events": [("Clicked", None, {"number": 1, "sign": "?>~"}),
                           ("Clicked", None, {"number": 2, "sign": "?>~"}),
                           ("Signed Up", "mixpanelnode-acme", {**FREE, "company": "mixpanelnode-acme"}),
                           ("Visited", None, {"path": "/?a>b~c"})],
            },
        },
        "accounts": {"mixpanelnode-acme": ACME},
    },
    "mixpanel_js": {
        "users": {
            "mixpaneljs-ada": {
                "ids": ["mixpaneljs-ada", "$anonymous"],
                "profile": {"$email": "ada@example.com"},
                "events": [("Visited", None, {"plan": "free", "sign": "?>~", "mp_lib": "web"}),
                           ("Signed Up", "mixpaneljs-acme", {"plan": "free", "sign": "?>~", "mp_lib": "web"})],
            },
        },
    },
    "amplitude": amplitude("amplitude"),
    "amplitude_node": amplitude("amplitudenode"),
    "amplitude_batch": {
        "users": {
            "amplitudebatch-bo": {
                "ids": ["amplitudebatch-bo"],
                "events": [("Clicked", None, {"number": number}) for number in range(30)],
            },
        },
    },
    "amplitude_js": amplitude("amplitudejs", "$anonymous", "Web"),
    "snowplow": snowplow("snowplow"),
    "snowplow_get": snowplow("snowplowget"),
    "snowplow_node": snowplow("snowplownode"),
    "snowplow_js": {
        "users": {
            "snowplowjs-ada": {
                "ids": ["snowplowjs-ada", "$anonymous"],
                "events": [
                    ("page_view", None, {"page_title": "Home", "app_id": "sdk-write-key"}),
                    ("page_view", None, {"page_title": "Docs", "page.type": "docs"}),
                    ("add-to-basket", None, {"category": "shop", "label": "pcs", "property": "web", "value": 2}),
                    ("signed_up", None, FREE),
                ],
            },
        },
    },
    "cloudevents": cloudevents("cloudevents"),
    "cloudevents_node": cloudevents("cloudeventsnode"),
}
