// What each SDK for Node is made to send: node senders.mjs NAME URL. See senders.py, whose stories these are.

import { createRequire } from "node:module";
import process from "node:process";

const require = createRequire(`${process.cwd()}/`);
const KEY = "sdk-write-key";
const WHEN = new Date("2026-03-01T09:30:00.250Z");
const LATER = new Date("2026-03-01T09:35:00.250Z");

const failures = [];
const fail = (...what) => failures.push(what);

const senders = {
  async segment_node(url) {
    const { Analytics } = require("@segment/analytics-node");
    const me = "segmentnode";
    const client = new Analytics({ writeKey: KEY, host: url, maxRetries: 1 });
    client.on("error", fail);
    for (let twice = 0; twice < 2; twice += 1) {
      client.track({
        userId: `${me}-ada`, event: "Signed Up", messageId: `${me}-1`, timestamp: WHEN,
        properties: { plan: "free", seats: 3, utm: { source: "ads" } }, context: { groupId: `${me}-acme` },
      });
    }
    client.track({ anonymousId: `${me}-anon`, event: "Visited", properties: { path: "/" }, timestamp: WHEN });
    client.identify({ userId: `${me}-ada`, anonymousId: `${me}-anon`, traits: { email: "ada@example.com", age: 36 } });
    client.group({ userId: `${me}-ada`, groupId: `${me}-acme`, traits: { name: "Acme", employees: 12 } });
    client.page({ userId: `${me}-ada`, category: "Docs", name: "Install", properties: { path: "/docs" }, timestamp: LATER });
    client.screen({ userId: `${me}-ada`, category: "App", name: "Home", properties: { width: 390 }, timestamp: LATER });
    client.alias({ userId: `${me}-ada`, previousId: `${me}-old` });
    client.track({ userId: `${me}-old`, event: "Came Back", timestamp: LATER });
    await client.closeAndFlush();
  },

  async rudder_node(url) {
    const RudderAnalytics = require("@rudderstack/rudder-sdk-node");
    const me = "ruddernode";
    const client = new RudderAnalytics(KEY, { dataPlaneUrl: url, flushInterval: 100, logLevel: "error" });
    for (let twice = 0; twice < 2; twice += 1) {
      client.track({
        userId: `${me}-ada`, event: "Signed Up", messageId: `${me}-1`, timestamp: WHEN, originalTimestamp: WHEN,
        properties: { plan: "free", seats: 3, utm: { source: "ads" } }, context: { groupId: `${me}-acme` },
      });
    }
    client.track({ anonymousId: `${me}-anon`, event: "Visited", properties: { path: "/" }, originalTimestamp: WHEN });
    client.identify({ userId: `${me}-ada`, anonymousId: `${me}-anon`, traits: { email: "ada@example.com", age: 36 } });
    client.group({ userId: `${me}-ada`, groupId: `${me}-acme`, traits: { name: "Acme", employees: 12 } });
    client.page({ userId: `${me}-ada`, category: "Docs", name: "Install", properties: { path: "/docs" }, originalTimestamp: LATER });
    client.screen({ userId: `${me}-ada`, category: "App", name: "Home", properties: { width: 390 }, originalTimestamp: LATER });
    client.alias({ userId: `${me}-ada`, previousId: `${me}-old` });
    client.track({ userId: `${me}-old`, event: "Came Back", originalTimestamp: LATER });
    await client.flush();
  },

  async posthog_node(url) {
    const { PostHog } = require("posthog-node");
    const me = "posthognode";
    const client = new PostHog(KEY, { host: url, flushAt: 100, fetchRetryCount: 1 });
    client.on("error", fail);
    for (let twice = 0; twice < 2; twice += 1) {
      client.capture({
        distinctId: `${me}-ada`, event: "signed_up", timestamp: WHEN, uuid: "018e0000-0000-7000-8000-000000000003",
        properties: { plan: "free", seats: 3, $set: { email: "ada@example.com" }, $set_once: { first_plan: "free" } },
        groups: { company: `${me}-acme` },
      });
    }
    client.capture({ distinctId: `${me}-anon`, event: "visited", timestamp: WHEN, properties: { path: "/" } });
    client.identify({ distinctId: `${me}-ada`, properties: { $set: { role: "engineer" }, $set_once: { first_plan: "pro", source: "ads" } } });
    client.capture({ distinctId: `${me}-ada`, event: "$identify", properties: { $anon_distinct_id: `${me}-anon`, $set: { age: 36 } } });
    client.groupIdentify({ groupType: "company", groupKey: `${me}-acme`, properties: { name: "Acme", employees: 12 } });
    client.alias({ distinctId: `${me}-ada`, alias: `${me}-old` });
    client.capture({ distinctId: `${me}-old`, event: "came_back", timestamp: LATER });
    await client.shutdown();
  },

  async mixpanel_node(url) {
    const Mixpanel = require("mixpanel");
    const me = "mixpanelnode";
    const at = new URL(url);
    const client = Mixpanel.init(KEY, { host: at.hostname, port: Number(at.port), protocol: "http" });
    const done = (send) => new Promise((resolve) => { send((error) => { if (error) fail(error); resolve(); }); });
    const seconds = WHEN.getTime() / 1000;
    for (let twice = 0; twice < 2; twice += 1) {
      await done((end) => client.track("Signed Up", {
        distinct_id: `${me}-ada`, plan: "free", seats: 3, company: `${me}-acme`, time: seconds, $insert_id: `${me}-1`,
      }, end));
    }
    await done((end) => client.track("Visited", { distinct_id: `${me}-anon`, path: "/?a>b~c", time: seconds, $insert_id: `${me}-0` }, end));
    await done((end) => client.track_batch([
      { event: "Clicked", properties: { distinct_id: `${me}-ada`, number: 1, sign: "?>~", time: seconds, $insert_id: `${me}-2` } },
      { event: "Clicked", properties: { distinct_id: `${me}-ada`, number: 2, sign: "?>~", time: seconds, $insert_id: `${me}-3` } },
    ], end));
    await done((end) => client.people.set(`${me}-ada`, { $email: "ada@example.com", age: 36, gone: 1, tags: ["a"] }, end));
    await done((end) => client.people.set_once(`${me}-ada`, { age: 99, source: "ads" }, end));
    await done((end) => client.people.increment(`${me}-ada`, { logins: 2 }, end));
    await done((end) => client.people.increment(`${me}-ada`, "logins", 3, end));
    await done((end) => client.people.append(`${me}-ada`, { tags: "b" }, end));
    await done((end) => client.people.union(`${me}-ada`, { tags: ["b", "c"] }, end));
    await done((end) => client.people.remove(`${me}-ada`, { tags: "a" }, end));
    await done((end) => client.people.unset(`${me}-ada`, ["gone"], end));
    await done((end) => client.groups.set("company", `${me}-acme`, { name: "Acme", employees: 12 }, end));
    await done((end) => client.alias(`${me}-anon`, `${me}-ada`, end));
  },

  async amplitude_node(url) {
    const amplitude = require("@amplitude/analytics-node");
    const me = "amplitudenode";
    await amplitude.init(KEY, { serverUrl: `${url}/2/httpapi`, logLevel: 0 }).promise;
    const results = [];
    const at = WHEN.getTime();
    results.push(amplitude.track("Visited", { path: "/" }, { device_id: `${me}-device`, time: at - 1000 }));
    for (let twice = 0; twice < 2; twice += 1) {
      results.push(amplitude.track({
        event_type: "Signed Up", user_id: `${me}-ada`, device_id: `${me}-device`, time: at, insert_id: `${me}-1`,
        event_properties: { plan: "free", seats: 3 }, user_properties: { email: "ada@example.com" },
        groups: { company: `${me}-acme` }, platform: "web",
      }));
    }
    const identify = new amplitude.Identify();
    identify.set("age", 36).setOnce("source", "ads").add("logins", 2).append("tags", "b");
    results.push(amplitude.identify(identify, { user_id: `${me}-ada` }));
    const company = new amplitude.Identify();
    company.set("name", "Acme").set("employees", 12);
    results.push(amplitude.groupIdentify("company", `${me}-acme`, company, { user_id: `${me}-ada` }));
    const revenue = new amplitude.Revenue().setProductId("pro").setPrice(9.99).setQuantity(2);
    results.push(amplitude.revenue(revenue, { user_id: `${me}-ada`, time: at + 1000 }));
    await amplitude.flush().promise;
    for (const result of results) {
      const { code, message } = await result.promise;
      if (code !== 200) fail(code, message);
    }
  },

  async snowplow_node(url) {
    const { newTracker, buildPageView, buildStructEvent, buildSelfDescribingEvent } = require("@snowplow/node-tracker");
    const me = "snowplownode";
    const tracker = newTracker(
      { namespace: "tests", appId: KEY, encodeBase64: true },
      { endpoint: url, eventMethod: "post", bufferSize: 10, onRequestFailure: fail },
    );
    const time = (offset) => ({ type: "ttm", value: WHEN.getTime() + offset });
    tracker.setDomainUserId(`${me}-browser`);
    tracker.track(buildPageView({ pageUrl: "https://example.com/", pageTitle: "Home" }), [], time(0));
    tracker.setUserId(`${me}-ada`);
    const context = [{ schema: "iglu:com.acme/page/jsonschema/1-0-0", data: { type: "docs" } }];
    tracker.track(buildPageView({ pageUrl: "https://example.com/docs", pageTitle: "Docs", referrer: "https://example.com/" }), context, time(1000));
    tracker.track(buildStructEvent({ category: "shop", action: "add-to-basket", label: "pcs", property: "web", value: 2 }), [], time(2000));
    tracker.track(buildSelfDescribingEvent({
      event: { schema: "iglu:com.acme/signed_up/jsonschema/1-0-0", data: { plan: "free", seats: 3 } },
    }), [], time(3000));
    await tracker.flush();
    await new Promise((resolve) => { setTimeout(resolve, 1500); });
  },

  async cloudevents_node(url) {
    const { CloudEvent, HTTP } = require("cloudevents");
    const me = "cloudeventsnode";
    const event = (number) => new CloudEvent({
      id: `${me}-${number}`, source: "/shop", type: "signed_up", subject: `${me}-ada`, time: WHEN.toISOString(),
      datacontenttype: "application/json", region: "eu", data: { plan: "free", seats: number },
    });
    for (const message of [HTTP.structured(event(1)), HTTP.binary(event(2)), HTTP.binary(event(2))]) {
      const answer = await fetch(`${url}/v1/cloudevents`, { method: "POST", headers: message.headers, body: message.body });
      if (answer.status !== 200) fail(await answer.text());
    }
    const batch = [event(3), event(4)].map((one) => one.toJSON());
    const headers = { "content-type": "application/cloudevents-batch+json" };
    const answer = await fetch(`${url}/v1/cloudevents`, { method: "POST", headers, body: JSON.stringify(batch) });
    if (answer.status !== 200) fail(await answer.text());
  },
};

await senders[process.argv[2]](process.argv[3]);
if (failures.length > 0) {
  console.error("the SDK was told of failures:", failures);
  process.exit(1);
}
