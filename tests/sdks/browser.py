"""What SDKs for browsers are made to send from a page in Chromium: python browser.py NAME URL NODE_MODULES.

The page has the server's own address, so that it may write without a key. The package's own bundle is loaded from what
npm installed; whatever the page asks of anybody but the server is a failure.
"""

import os
import pathlib
import sys

from playwright.sync_api import sync_playwright

KEY = "sdk-write-key"

# Each with the bundle in its package, and the story as the page tells it. A story returns the anonymous id that the SDK made up.
PAGES = {
    "segment_js": ("@segment/analytics-next/dist/umd/index.js", """
        const analytics = AnalyticsNext.AnalyticsBrowser.load({writeKey: KEY, cdnURL: location.origin});
        const user = await analytics.user();
        const anonymous = user.anonymousId();
        await analytics.track('Visited', {path: '/'});
        await analytics.identify('segmentjs-ada', {email: 'ada@example.com', age: 36});
        await analytics.group('segmentjs-acme', {name: 'Acme', employees: 12});
        await analytics.track('Signed Up', {plan: 'free', seats: 3}, {context: {groupId: 'segmentjs-acme'}});
        await analytics.page('Docs', 'Install', {path: '/docs'});
        await analytics.alias('segmentjs-ada', 'segmentjs-old');
        return anonymous;
    """),
    "rudder_js": ("@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js", """
        const analytics = new rudderanalytics.RudderAnalytics();
        await new Promise(onLoaded => analytics.load(KEY, location.origin, {configUrl: location.origin, onLoaded,
            logLevel: 'ERROR'}));
        const anonymous = analytics.getAnonymousId();
        analytics.track('Visited', {path: '/'});
        await pause(10);
        analytics.identify('rudderjs-ada', {email: 'ada@example.com', age: 36});
        analytics.group('rudderjs-acme', {name: 'Acme', employees: 12});
        analytics.track('Signed Up', {plan: 'free', seats: 3});
        await pause(10);
        analytics.page('Docs', 'Install', {path: '/docs'});
        await pause(10);
        analytics.alias('rudderjs-ada', 'rudderjs-old');
        return anonymous;
    """),
    "posthog_js": ("posthog-js/dist/array.no-external.js", """
        await new Promise(loaded => posthog.init(KEY, {api_host: location.origin, loaded, persistence: 'memory',
            request_batching: false,
            opt_out_useragent_filter: true, capture_pageview: false, advanced_disable_feature_flags: true}));
        const anonymous = posthog.get_distinct_id();
        posthog.capture('visited', {path: '/'});
        await pause(10);
        posthog.identify('posthogjs-ada', {email: 'ada@example.com'}, {source: 'ads'});
        posthog.group('company', 'posthogjs-acme', {name: 'Acme', employees: 12});
        posthog.capture('signed_up', {plan: 'free', seats: 3});
        await pause(10);
        posthog.capture('left', {where: 'beacon'}, {transport: 'sendBeacon'});
        return anonymous;
    """),
    "mixpanel_js": ("mixpanel-browser/dist/mixpanel-core.cjs.js", """
        mixpanel.init(KEY, {api_host: location.origin, persistence: 'localStorage', batch_requests: false,
            record_sessions_percent: 0, debug: false});
        const anonymous = mixpanel.get_distinct_id();
        const sent = name => new Promise(resolve => mixpanel.track(name, {plan: 'free', sign: '?>~'}, resolve));
        const answers = [await sent('Visited')];
        mixpanel.identify('mixpaneljs-ada');
        mixpanel.set_group('company', 'mixpaneljs-acme');
        answers.push(await sent('Signed Up'));
        answers.push(await new Promise(resolve => mixpanel.people.set({$email: 'ada@example.com'}, resolve)));
        if (answers.some(answer => (answer && answer.status !== undefined ? answer.status : answer) !== 1)) {
            throw new Error('mixpanel was answered ' + JSON.stringify(answers));
        }
        return anonymous;
    """),
    "amplitude_js": ("@amplitude/analytics-browser/lib/scripts/amplitude-min.umd.js", """
        await amplitude.init(KEY, {serverUrl: `${location.origin}/2/httpapi`, autocapture: false, enableDiagnostics: false,
            remoteConfig: {fetchRemoteConfig: false}, logLevel: 1}).promise;
        const anonymous = amplitude.getDeviceId();
        const results = [amplitude.track('Visited', {path: '/'})];
        await pause(10);
        amplitude.setUserId('amplitudejs-ada');
        results.push(amplitude.identify(new amplitude.Identify()
            .set('email', 'ada@example.com').set('age', 36).setOnce('source', 'ads').add('logins', 2).append('tags', 'b')));
        results.push(amplitude.groupIdentify('company', 'amplitudejs-acme',
            new amplitude.Identify().set('name', 'Acme').set('employees', 12)));
        results.push(amplitude.track('Signed Up', {plan: 'free', seats: 3}, {groups: {company: 'amplitudejs-acme'}}));
        await pause(10);
        results.push(amplitude.revenue(new amplitude.Revenue().setProductId('pro').setPrice(9.99).setQuantity(2)));
        await amplitude.flush().promise;
        for (const {code, message} of await Promise.all(results.map(result => result.promise))) {
            if (code !== 200) throw new Error(`amplitude was answered ${code} ${message}`);
        }
        return anonymous;
    """),
    "snowplow_js": ("@snowplow/browser-tracker/dist/index.umd.min.js", """
        const {newTracker, setUserId, trackPageView, trackStructEvent, trackSelfDescribingEvent} = snowplowBrowserTracking;
        const tracker = newTracker('tests', location.origin, {appId: KEY, bufferSize: 1});
        const anonymous = tracker.getDomainUserId();
        trackPageView({title: 'Home'});
        await pause(10);
        setUserId('snowplowjs-ada');
        trackPageView({title: 'Docs', context: [{schema: 'iglu:com.acme/page/jsonschema/1-0-0', data: {type: 'docs'}}]});
        await pause(10);
        trackStructEvent({category: 'shop', action: 'add-to-basket', label: 'pcs', property: 'web', value: 2});
        await pause(10);
        trackSelfDescribingEvent({event: {schema: 'iglu:com.acme/signed_up/jsonschema/1-0-0', data: {plan: 'free', seats: 3}}});
        return anonymous;
    """),
}


def send(name, url, node_modules):
    """Runs the page and returns the anonymous id that the SDK made up."""
    bundle, script = PAGES[name]
    source = (pathlib.Path(node_modules) / bundle).read_text()
    if bundle.endswith(".cjs.js"):
        # A bundler would do this; Mixpanel's bundle without one loads itself from the vendor.
        source = f"window.mixpanel = (module => {{ {source}; return module.exports; }})({{exports: {{}}}});"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox"])
        page = browser.new_page()
        refused, open_requests = [], set()
        page.on("response", lambda answer: answer.status >= 400 and refused.append((answer.status, answer.url)))
        page.on("pageerror", lambda error: refused.append(("error", str(error))))
        page.on("request", lambda request: request.url.startswith(url) or refused.append(("asked", request.url)))
        page.on("request", lambda request: open_requests.add(request))
        page.on("requestfinished", lambda request: open_requests.discard(request))
        page.on("requestfailed", lambda request: open_requests.discard(request))
        page.route(f"{url}/page", lambda route: route.fulfill(content_type="text/html", body="<title>Page</title>"))
        page.goto(f"{url}/page")
        page.add_script_tag(content=source)
        start = f"const KEY = '{KEY}', pause = ms => new Promise(resolve => setTimeout(resolve, ms));"
        anonymous = page.evaluate(f"async () => {{ {start} {script} }}")
        # What is sent in the background begins within a second or two, and is then waited for.
        page.wait_for_timeout(2000)
        for _ in range(300):
            if not open_requests:
                break
            page.wait_for_timeout(100)
        page.goto("about:blank")  # Leaving the page sends what is left.
        page.wait_for_timeout(1000)
        browser.close()
    if refused:
        sys.exit(f"the page met {refused}")
    return anonymous


if __name__ == "__main__":
    print(send(*sys.argv[1:4]))
