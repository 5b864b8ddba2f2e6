#!/usr/bin/env node
/**
 * @file Runs every kernel case of the self-test on the arm64 library, under qemu. Without the cross compiler or the
 * emulator it says what is missing and does nothing.
 */
import { spawnSync } from 'node:child_process';
import { findCompiler } from '../tools/compiler.mjs';
import { replay } from './replay.mjs';

const COMPILER = 'aarch64-linux-gnu-g++';
const EMULATOR = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'];

/** @returns {string} why it cannot run here, or '' */
function missing() {
  const wanted = 'on Debian and Ubuntu run: sudo apt install g++-aarch64-linux-gnu qemu-user';
  if (process.platform !== 'linux') return 'needs Linux, where qemu runs programs of another processor';
  if (!findCompiler([COMPILER])) return `needs ${COMPILER}; ${wanted}`;
  if (spawnSync('qemu-aarch64', ['--version']).status !== 0) return `needs qemu-aarch64; ${wanted}`;
  return '';
}

const reason = missing();
if (reason) {
  console.log(`arm64 kernel tests skipped: ${reason}`);
} else {
  process.exitCode = await replay({ target: 'arm64', compiler: COMPILER, runner: EMULATOR });
}
