"""What each Python SDK is made to send: python senders.py NAME URL.

Every sender uses the package as its own documentation shows, with nothing changed but the host option. Ids start with
the SDK's name, so that all of them can talk to one server. What must arrive is in expectations.py.
"""

import datetime
import sys
import urllib.parse

KEY = "sdk-write-key"
WHEN = datetime.datetime(2026, 3, 1, 9, 30, 0, 250000, tzinfo=datetime.timezone.utc)
LATER = WHEN + datetime.timedelta(minutes=5)


def segment(url, module="segment.analytics", me="segment", gzip=True):
    client = getattr(__import__(module, fromlist=["client"]), "client").Client(
        KEY, host=url, gzip=gzip, max_retries=1, on_error=fail)
    client.track(f"{me}-ada", "Signed Up", {"plan": "free", "seats": 3, "utm": {"source": "ads"}},
                 timestamp=WHEN, context={"groupId": f"{me}-acme"}, message_id=f"{me}-1")
    client.track(event="Visited", anonymous_id=f"{me}-anon", properties={"path": "/"}, timestamp=WHEN)
    client.identify(f"{me}-ada", {"email": "ada@example.com", "age": 36}, anonymous_id=f"{me}-anon", timestamp=LATER)
    client.group(f"{me}-ada", f"{me}-acme", {"name": "Acme", "employees": 12}, timestamp=LATER)
    client.page(f"{me}-ada", "Docs", "Install", {"path": "/docs"}, timestamp=LATER)
    client.screen(f"{me}-ada", "App", "Home", {"width": 390}, timestamp=LATER)
    client.alias(f"{me}-old", f"{me}-ada")
    client.track(f"{me}-old", "Came Back", timestamp=LATER)
    # The same message again, as after a lost answer.
    client.track(f"{me}-ada", "Signed Up", {"plan": "free", "seats": 3, "utm": {"source": "ads"}},
                 timestamp=WHEN, context={"groupId": f"{me}-acme"}, message_id=f"{me}-1")
    client.flush()
    client.join()


def rudder(url):
    segment(url, module="rudderstack.analytics", me="rudder")


def posthog(url, me="posthog", **options):
    from posthog import Posthog
    client = Posthog(KEY, host=url, on_error=fail, max_retries=1, **options)
    uuid = "018e0000-0000-7000-8000-0000000000" + ("01" if me == "posthog" else "02")
    for _ in range(2):  # The second is the first again, as after a lost answer.
        client.capture("signed_up", distinct_id=f"{me}-ada", timestamp=WHEN, uuid=uuid,
                       properties={"plan": "free", "seats": 3, "$set": {"email": "ada@example.com"},
                                   "$set_once": {"first_plan": "free"}},
                       groups={"company": f"{me}-acme"})
    client.capture("visited", distinct_id=f"{me}-anon", timestamp=WHEN, properties={"path": "/"})
    client.capture("$identify", distinct_id=f"{me}-ada", timestamp=LATER,
                   properties={"$anon_distinct_id": f"{me}-anon", "$set": {"age": 36}})
    client.set(distinct_id=f"{me}-ada", properties={"role": "engineer"})
    client.set_once(distinct_id=f"{me}-ada", properties={"first_plan": "pro", "source": "ads"})
    client.group_identify("company", f"{me}-acme", {"name": "Acme", "employees": 12})
    client.alias(f"{me}-old", f"{me}-ada")
    client.capture("came_back", distinct_id=f"{me}-ada", timestamp=LATER)
    client.flush()
    client.shutdown()


def posthog_v1(url):
    posthog(url, me="posthogv1", capture_mode="v1", gzip=True)


def mixpanel(url):
    from mixpanel import BufferedConsumer, Consumer, Mixpanel
    me = "mixpanel"
    urls = {"events_url": f"{url}/track", "people_url": f"{url}/engage", "groups_url": f"{url}/groups",
            "import_url": f"{url}/import"}
    plain = Mixpanel(KEY, consumer=Consumer(**urls))
    plain.track(f"{me}-ada", "Signed Up", {"plan": "free", "seats": 3, "company": f"{me}-acme",
                                           "time": WHEN.timestamp(), "$insert_id": f"{me}-1"})
    plain.track(f"{me}-ada", "Signed Up", {"plan": "free", "seats": 3, "company": f"{me}-acme",
                                           "time": WHEN.timestamp(), "$insert_id": f"{me}-1"})
    plain.import_data(KEY, f"{me}-ada", "Imported", int(WHEN.timestamp()), {"old": True, "$insert_id": f"{me}-2"})
    plain.track(f"{me}-anon", "Visited", {"path": "/", "time": WHEN.timestamp()})
    plain.people_set(f"{me}-ada", {"$email": "ada@example.com", "age": 36, "gone": 1, "tags": ["a"]})
    plain.people_set_once(f"{me}-ada", {"age": 99, "source": "ads"})
    plain.people_increment(f"{me}-ada", {"logins": 2})
    plain.people_increment(f"{me}-ada", {"logins": 3})
    plain.people_append(f"{me}-ada", {"tags": "b"})
    plain.people_union(f"{me}-ada", {"tags": ["b", "c"]})
    plain.people_remove(f"{me}-ada", {"tags": "a"})
    plain.people_unset(f"{me}-ada", ["gone"])
    plain.group_set("company", f"{me}-acme", {"name": "Acme", "employees": 12})
    # What alias() sends; that one goes to the vendor's own address whatever the consumer is told.
    plain.track(f"{me}-anon", "$create_alias", {"distinct_id": f"{me}-anon", "alias": f"{me}-ada"})
    plain.track(f"{me}-second", "Second Device", {"time": LATER.timestamp()})
    plain.merge(KEY, f"{me}-ada", f"{me}-second")
    buffered = BufferedConsumer(**urls)
    many = Mixpanel(KEY, consumer=buffered)
    for number in range(60):
        many.track(f"{me}-bo", "Clicked", {"number": number, "time": WHEN.timestamp() + number})
    buffered.flush()


def amplitude(url):
    from amplitude import Amplitude, BaseEvent, Config, EventOptions, Identify, Revenue
    me = "amplitude"
    client = Amplitude(KEY, Config(server_url=f"{url}/2/httpapi", callback=must_be_well, flush_interval_millis=100))
    at = int(WHEN.timestamp() * 1000)
    event = {"event_type": "Signed Up", "user_id": f"{me}-ada", "device_id": f"{me}-device", "time": at,
             "insert_id": f"{me}-1", "event_properties": {"plan": "free", "seats": 3},
             "user_properties": {"email": "ada@example.com"}, "groups": {"company": f"{me}-acme"},
             "platform": "web"}
    client.track(BaseEvent("Visited", device_id=f"{me}-device", time=at - 1000, event_properties={"path": "/"}))
    client.track(BaseEvent(**event))
    client.track(BaseEvent(**event))
    identify = Identify()
    identify.set("age", 36).set_once("source", "ads").add("logins", 2).append("tags", "b").prepend("tags", "a")
    client.identify(identify, EventOptions(user_id=f"{me}-ada"))
    company = Identify()
    company.set("name", "Acme").set("employees", 12)
    client.group_identify("company", f"{me}-acme", company)
    client.set_group("company", f"{me}-acme", EventOptions(user_id=f"{me}-ada"))
    revenue = Revenue(price=9.99, quantity=2, product_id="pro")
    client.revenue(revenue, EventOptions(user_id=f"{me}-ada", time=at + 1000))
    client.flush()
    client.shutdown()


def amplitude_batch(url):
    from amplitude import Amplitude, BaseEvent, Config
    client = Amplitude(KEY, Config(server_url=f"{url}/batch", use_batch=True, callback=must_be_well))
    for number in range(30):
        client.track(BaseEvent("Clicked", user_id="amplitudebatch-bo", event_properties={"number": number},
                               time=int(WHEN.timestamp() * 1000) + number))
    client.flush()
    client.shutdown()


def snowplow(url, me="snowplow", method="post"):
    from snowplow_tracker import Emitter, PageView, SelfDescribing, SelfDescribingJson, StructuredEvent, Subject, Tracker
    at = urllib.parse.urlparse(url)
    emitter = Emitter(at.hostname, protocol="http", port=at.port, method=method, on_failure=lambda *what: fail(what))
    subject = Subject().set_user_id(f"{me}-ada").set_domain_user_id(f"{me}-browser").set_platform("web").set_lang("en")
    tracker = Tracker("tests", emitter, app_id=KEY, subject=subject)
    stranger = Tracker("tests", emitter, app_id=KEY, subject=Subject().set_domain_user_id(f"{me}-browser"))
    stamp = int(WHEN.timestamp() * 1000)
    stranger.track(PageView("https://example.com/", "Home", true_timestamp=stamp))
    context = SelfDescribingJson("iglu:com.acme/page/jsonschema/1-0-0", {"type": "docs"})
    tracker.track(PageView("https://example.com/docs", "Docs", "https://example.com/", context=[context],
                           true_timestamp=stamp + 1000))
    tracker.track(StructuredEvent("shop", "add-to-basket", "pcs", "web", 2, true_timestamp=stamp + 2000))
    tracker.track(SelfDescribing(SelfDescribingJson("iglu:com.acme/signed_up/jsonschema/1-0-0",
                                                    {"plan": "free", "seats": 3}), true_timestamp=stamp + 3000))
    tracker.flush()


def snowplow_get(url):
    snowplow(url, me="snowplowget", method="get")


def cloudevents(url):
    import requests
    from cloudevents.core.bindings.http import to_binary_event, to_structured_event
    from cloudevents.core.v1.event import CloudEvent
    me = "cloudevents"

    def event(number):
        return CloudEvent({"id": f"{me}-{number}", "source": "/shop", "type": "signed_up", "specversion": "1.0",
                           "subject": f"{me}-ada", "time": WHEN, "datacontenttype": "application/json",
                           "region": "eu"}, {"plan": "free", "seats": number})
    messages = [to_structured_event(event(1)), to_binary_event(event(2)), to_binary_event(event(2))]
    for message in messages:
        answer = requests.post(f"{url}/v1/cloudevents", headers=message.headers, data=message.body, timeout=300)
        assert answer.status_code == 200, answer.text
    batch = b"[" + b",".join(to_structured_event(event(number)).body for number in (3, 4)) + b"]"
    answer = requests.post(f"{url}/v1/cloudevents", data=batch, timeout=300,
                           headers={"Content-Type": "application/cloudevents-batch+json"})
    assert answer.status_code == 200, answer.text


FAILURES = []


def fail(*what):
    FAILURES.append(what)


def must_be_well(event, code, message=None):
    if code != 200:
        fail(event, code, message)


SENDERS = {f.__name__: f for f in (segment, rudder, posthog, posthog_v1, mixpanel, amplitude, amplitude_batch,
                                   snowplow, snowplow_get, cloudevents)}

if __name__ == "__main__":
    SENDERS[sys.argv[1]](sys.argv[2])
    if FAILURES:
        sys.exit(f"the SDK was told of failures: {FAILURES}")
