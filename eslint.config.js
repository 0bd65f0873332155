import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["**/dist/", "**/build/", "**/gen/", "**/coverage/", "**/prebuilds/"] },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // A Definition's message types are existential: `any` is how TypeScript writes that in a constraint.
      "@typescript-eslint/no-explicit-any": "off",
      // Handlers and transports are async by contract, whether or not an implementation has something to await.
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // `array[i]!` says that the element is known to be there, though the compiler would not ask.
      "@typescript-eslint/no-unnecessary-type-assertion": "off",
      // Native methods are taken from their prototypes to be applied to memory of other types.
      "@typescript-eslint/unbound-method": "off",
      // Wire types come off the wire as numbers.
      "@typescript-eslint/no-unsafe-enum-comparison": "off",
      // An AbortSignal's reason may be anything.
      "@typescript-eslint/prefer-promise-reject-errors": [
        "error",
        { allowThrowingAny: true, allowThrowingUnknown: true },
      ],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/consistent-type-imports": "error",
    },
  },
  {
    // chai's assertions are property reads (`expect(x).to.be.true`).
    files: ["**/test/**/*.ts", "packages/transport-contract/**/*.ts"],
    rules: {
      "@typescript-eslint/no-unused-expressions": "off",
      // What a failing test prints is for people, in whatever form.
      "@typescript-eslint/no-base-to-string": "off",
      "@typescript-eslint/restrict-template-expressions": "off",
      // Results of iterators (`const { value } = await iterator.next()`) are `any` once the iterator may have ended.
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      // Tests throw on what was caught, and fail on what they are made to fail with.
      "@typescript-eslint/only-throw-error": "off",
      "@typescript-eslint/no-misused-promises": "off",
    },
  },
);
