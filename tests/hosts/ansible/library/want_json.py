#!/usr/bin/python3
# WANT_JSON
import json
import sys

with open(sys.argv[1]) as fp:
    print(json.dumps({'changed': False, 'style': 'json', 'word': json.load(fp)['word']}))
