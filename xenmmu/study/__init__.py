"""The study: the question of the 2007 mail answered on the recorded history of a real `make`."""
