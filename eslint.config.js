import tseslint from 'typescript-eslint';

/** node:test's own functions return promises that the runner awaits. */
const TEST_FUNCTIONS = ['it', 'test', 'describe', 'suite'];

export default tseslint.config(
  { ignores: ['dist/', '.build/', '.cache/', 'node_modules/', 'coverage/'] },
  {
    files: ['src/**/*.ts', 'test/**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [{ from: 'package', name: TEST_FUNCTIONS, package: 'node:test' }],
        },
      ],
      '@typescript-eslint/no-misused-promises': [
        'error',
        { checksVoidReturn: { arguments: false } },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/only-throw-error': 'error',
      // `list[i]!` says that the author knows the index is in range; the compiler does not ask.
      '@typescript-eslint/no-unnecessary-type-assertion': 'off',
      // Contracts are written as methods and mostly kept by closures, which have no `this` to lose.
      '@typescript-eslint/unbound-method': 'off',
      // An async function without await is how a contract that answers by promise is kept.
      '@typescript-eslint/require-await': 'off',
      eqeqeq: 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: 'Named exports only.' },
      ],
    },
  },
  {
    // The environment and the arguments are read in main.ts only.
    files: ['src/**/*.ts'],
    ignores: ['src/main.ts', 'src/app/**'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'Only main.ts reads the environment.' },
        { object: 'process', property: 'argv', message: 'Only main.ts reads the arguments.' },
        { object: 'process', property: 'exit', message: 'Only main.ts ends the process.' },
      ],
      'no-console': 'error',
    },
  },
  {
    files: ['**/*.mjs', '*.js'],
    extends: [tseslint.configs.base],
    rules: { eqeqeq: 'error', 'no-var': 'error', 'prefer-const': 'error' },
  },
);
