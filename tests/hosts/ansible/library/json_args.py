#!/usr/bin/python3
import json

ARGUMENTS = '''<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>'''
print(json.dumps({'changed': False, 'style': 'arguments', 'word': json.loads(ARGUMENTS)['word']}))
