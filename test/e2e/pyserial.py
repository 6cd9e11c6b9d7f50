"""pyserial as a test drives it: one expression on each line of standard input, its value as JSON out.

`port` is the serial port once `open(...)` was called. Bytes are told as hexadecimal digits.
"""

import json
import sys
import time

import serial

port = None


def open(url, **settings):
    global port
    port = serial.serial_for_url(url, **settings)
    return port.is_open


def read(count):
    return port.read(count).hex()


def write(digits):
    return port.write(bytes.fromhex(digits))


def until(condition, patience=60):
    """Waits for what the other side is to tell us; the patience is a safety net."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.02)
    return True


for line in sys.stdin:
    try:
        answer = {"value": eval(line, globals())}
    except Exception as error:
        answer = {"error": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(answer), flush=True)
