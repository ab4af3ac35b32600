// The parts of the page's script are one function when they are served: each may use what an earlier one defines.
import { readdirSync, readFileSync } from "node:fs";
import js from "@eslint/js";
import globals from "globals";

const folder = "assets/studio";
const files = readdirSync(folder).filter((name) => name.endsWith(".js"));
const defined = files.flatMap((name) =>
  [...readFileSync(`${folder}/${name}`, "utf8").matchAll(/^(?:const|let|function\*?) (\w+)/gm)].map((found) => found[1]));

export default [
  js.configs.recommended,
  {
    files: [`${folder}/*.js`],
    languageOptions: { sourceType: "script", globals: { ...globals.browser, ...Object.fromEntries(defined.map((name) => [name, "writable"])) } },
    rules: { "no-redeclare": ["error", { builtinGlobals: false }], "no-unused-vars": ["error", { vars: "local" }], eqeqeq: ["error", "smart"], "no-var": "error" },
  },
];
