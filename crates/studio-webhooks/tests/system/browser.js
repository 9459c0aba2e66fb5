// Drives the example page in a real Chromium. Commands come as lines of JSON on standard input,
// one answer each goes to standard output.
const { chromium } = require('playwright-core');
const readline = require('node:readline');

const FLAGS = [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update',
];

const commands = {
    async open(page, { url }) {
        await page.goto(url);
    },
    async fill(page, { field, value }) {
        await page.fill(field, value);
    },
    async click(page, { what }) {
        await page.click(what);
    },
    /** Waits until an expression is true in the page. */
    async until(page, { condition }) {
        await page.waitForFunction(condition, null, { timeout: 30_000, polling: 50 });
    },
    async evaluate(page, { expression }) {
        return page.evaluate(expression);
    },
    async screenshot(page, { path }) {
        await page.screenshot({ path });
    },
};

(async () => {
    const browser = await chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS,
    });
    const page = await browser.newPage({ viewport: { width: 1000, height: 640 } });
    const errors = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const { command, ...given } = JSON.parse(line);
        let answer;
        try {
            answer = { value: (await commands[command](page, given)) ?? null, errors };
        } catch (error) {
            answer = { failed: String(error), errors };
        }
        process.stdout.write(`${JSON.stringify(answer)}\n`);
    }
    await browser.close();
})();
