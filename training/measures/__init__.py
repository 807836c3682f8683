"""How good a trained codec and a trained model sound: measures by published packages, over recordings never trained on.

What each measure is stands in docs/measuring.md. The packages are the extra ``measures``; each is imported only by the
function that uses it, so that training works without them.
"""
