"""Single pictures: reading, cropping, annotation, face detection, landmarks, head pose."""
