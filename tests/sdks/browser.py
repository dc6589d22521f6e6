"""What SDKs for browsers are made to send from a page in Chromium: python browser.py NAME URL NODE_MODULES.

The page has the server's own address, so that it may write without a key. The package's own bundle is loaded from what
npm installed; nothing is fetched from elsewhere.
"""

import pathlib
import shutil
import sys

from playwright.sync_api import sync_playwright

KEY = "sdk-write-key"

POSTHOG = """
    await new Promise(loaded => posthog.init('%s', {api_host: location.origin, loaded, persistence: 'memory',
        request_batching: false,
        opt_out_useragent_filter: true, capture_pageview: false, advanced_disable_feature_flags: true}));
    window.anonymous = posthog.get_distinct_id();
    posthog.capture('visited', {path: '/'});
    posthog.identify('posthogjs-ada', {email: 'ada@example.com'}, {source: 'ads'});
    posthog.group('company', 'posthogjs-acme', {name: 'Acme', employees: 12});
    posthog.capture('signed_up', {plan: 'free', seats: 3});
    posthog.capture('left', {where: 'beacon'}, {transport: 'sendBeacon'});
    return window.anonymous;
""" % KEY

MIXPANEL = """
    mixpanel.init('%s', {api_host: location.origin, persistence: 'localStorage', batch_requests: false,
        record_sessions_percent: 0, debug: false});
    window.anonymous = mixpanel.get_distinct_id();
    const sent = name => new Promise(resolve => mixpanel.track(name, {plan: 'free', sign: '?>~'}, resolve));
    const answers = [await sent('Visited')];
    mixpanel.identify('mixpaneljs-ada');
    mixpanel.set_group('company', 'mixpaneljs-acme');
    answers.push(await sent('Signed Up'));
    answers.push(await new Promise(resolve => mixpanel.people.set({$email: 'ada@example.com'}, resolve)));
    if (answers.some(answer => (answer && answer.status !== undefined ? answer.status : answer) !== 1)) {
        throw new Error('mixpanel was answered ' + JSON.stringify(answers));
    }
    return window.anonymous;
""" % KEY

PAGES = {
    "posthog_js": ("posthog-js/dist/array.no-external.js", POSTHOG),
    "mixpanel_js": ("mixpanel-browser/dist/mixpanel-core.cjs.js", MIXPANEL),
}


def send(name, url, node_modules):
    """Runs the page and returns the anonymous id that the SDK made up."""
    bundle, script = PAGES[name]
    source = (pathlib.Path(node_modules) / bundle).read_text()
    chromium = next(found for found in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if found)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        refused = []
        page.on("response", lambda answer: answer.status >= 400 and refused.append((answer.status, answer.url)))
        page.on("pageerror", lambda error: refused.append(("error", str(error))))
        page.route(f"{url}/page", lambda route: route.fulfill(content_type="text/html", body="<title>Page</title>"))
        page.goto(f"{url}/page")
        if name == "mixpanel_js":
            # A bundler would do this; the bundle without one loads itself from the vendor.
            source = f"window.mixpanel = (module => {{ {source}; return module.exports; }})({{exports: {{}}}});"
        page.add_script_tag(content=source)
        anonymous = page.evaluate(f"async () => {{ {script} }}")
        page.wait_for_timeout(1500)
        page.goto("about:blank")  # Leaving the page sends what is left.
        page.wait_for_timeout(500)
        browser.close()
    if refused:
        sys.exit(f"the page met {refused}")
    return anonymous


if __name__ == "__main__":
    print(send(*sys.argv[1:4]))
