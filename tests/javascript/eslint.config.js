import js from "@eslint/js";
import globals from "globals";

const PAGES = "service/mindwire/api/static/**/*.js";

export default [
  { ignores: ["**/node_modules/**"] },
  js.configs.recommended,
  {
    files: [PAGES, "clients/javascript/**/*.js", "tests/javascript/*.js", "docs/**/*.js"],
    languageOptions: { globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "array-callback-return": "error",
      "default-case-last": "error",
      eqeqeq: ["error", "always", { null: "ignore" }],
      "no-constructor-return": "error",
      "no-else-return": "error",
      "no-eval": "error",
      "no-implicit-coercion": "error",
      "no-implied-eval": "error",
      "no-restricted-properties": ["error", { property: "outerHTML", message: "Build nodes with element() of dom.js." }],
      "no-self-compare": "error",
      "no-shadow": "error",
      "no-template-curly-in-string": "error",
      "no-throw-literal": "error",
      "no-unmodified-loop-condition": "error",
      "no-unused-expressions": "error",
      "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
      "no-useless-concat": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "prefer-template": "error",
      radix: "error",
    },
  },
  { files: ["service/mindwire/api/static/js/theme.js"], languageOptions: { sourceType: "script" } },
  { files: ["tests/javascript/*.js"], languageOptions: { globals: globals.node } },
];
